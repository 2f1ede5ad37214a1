"""Checking an answer to an exercise: check asks the exercise's rules one after another, which look at evidence.

evidence is the learner's files and database (snapshot), and a replay of the revisions in a scratch database, by a
child process (replay_child); clients runs psql and pg_dump. rules, replay_rule and backup say what an answer can be
held to; keeps, which data it must keep; finding, what there is to say against it.
"""
