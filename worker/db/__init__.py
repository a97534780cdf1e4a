"""SQL: the tables, the sessions, the clock, and one module of statements for each table's duty."""
