-- Run once, by the Postgres image, when its volume is empty: Dagster keeps its runs beside our tables, not among them.
CREATE DATABASE dagster;
