-- SPDX-License-Identifier: MIT
-- A database that grows while it is mapped; the checksum reads all of it. See programs.sh.
PRAGMA mmap_size = 268435456;
CREATE TABLE piece (number INTEGER PRIMARY KEY, bytes BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO piece
        SELECT i, CAST(printf('%.*c', 1000 + i % 500, char(97 + i % 26)) AS BLOB) FROM n;
SELECT count(*), sum(length(bytes)), hex(max(substr(bytes, 1, 4))) FROM piece;
INSERT INTO piece SELECT number + 3000, bytes FROM piece;
SELECT count(*), sum(length(bytes)), hex(max(substr(bytes, 1, 4))) FROM piece;
INSERT INTO piece SELECT number + 6000, bytes FROM piece;
SELECT count(*), sum(length(bytes)), hex(max(substr(bytes, 1, 4))) FROM piece;
PRAGMA integrity_check;
.print done
