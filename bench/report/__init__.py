"""The report: what was learnt, the tables, figures chosen by rule, and where every number comes from."""
