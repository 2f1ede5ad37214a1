-- Multiplied modulo a prime, numbers look random but are the same on every server.
CREATE TEMPORARY VIEW numbers AS
SELECT n, n * 1103515245 % 2147483647 AS mixed
  FROM generate_series(1::bigint, :orders) AS n;

INSERT INTO customers (name, email, fax)
SELECT first || ' ' || last,
       lower(first || '.' || last) || n || '@example.com',
       CASE WHEN n % 3 = 0 THEN '+44 20 7946 ' || to_char(n % 1000, 'FM0000') END
  FROM (SELECT n, firsts[1 + n % 20] AS first, lasts[1 + n / 20 % 21] AS last
          FROM generate_series(1, :customers) AS n,
               string_to_array('Ada Amir Anna Ben Chloe Dana Elena Farid Grace Hugo Ines Jonas '
                               'Kenji Lena Maria Noor Omar Priya Sam Zoe', ' ') AS firsts,
               string_to_array('Adams Baker Costa Diaz Evans Fischer Garcia Haddad Ito Jensen '
                               'Kaya Lopez Moreau Novak Okafor Patel Rossi Silva Tanaka Weber '
                               'Young', ' ') AS lasts) AS names
 ORDER BY n;

INSERT INTO orders (customer_id, status, ordered_at)
SELECT 1 + mixed % :customers,
       CASE mixed / 7 % 10 WHEN 0 THEN 'new' WHEN 1 THEN 'paid' ELSE 'shipped' END,
       timestamptz '2025-01-01 00:00+00' + make_interval(secs => (n - 1) * 31536000 / :orders)
  FROM numbers
 ORDER BY n;

INSERT INTO order_lines (order_id, book_id, quantity, unit_price)
SELECT n, books.id, 1 + mixed / 11 % 3, books.price
  FROM numbers
 CROSS JOIN LATERAL generate_series(1, 1 + mixed / 13 % 3) AS line
  JOIN books ON books.id = 1 + (mixed / 17 + line * 11) % :books
 ORDER BY n, line;

DROP VIEW numbers;
ANALYZE books, customers, orders, order_lines;
