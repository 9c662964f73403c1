-- A row whose pages are damaged cannot be removed from the file: what is made anew of its window stands beside it, and of
-- rows with the same beginning the one with the highest id counts.
DROP INDEX chunk_window;
CREATE INDEX chunk_window ON chunk (project, device, from_us);
DROP INDEX rollup_row;
CREATE INDEX rollup_row ON rollup (project, device, level, from_us);
