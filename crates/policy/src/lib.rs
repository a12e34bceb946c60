//! Principals, rules, limit arithmetic, schema checks, redaction: pure.
