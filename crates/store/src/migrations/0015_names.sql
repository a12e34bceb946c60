-- Names and addresses are compared by what `lower` makes of them, as in PostgreSQL, which has no other way.
CREATE UNIQUE INDEX accounts_folded_name ON accounts (lower(name));
CREATE UNIQUE INDEX accounts_folded_email ON accounts (lower(email));
CREATE INDEX recovery_codes_folded ON recovery_codes (lower(account));
CREATE INDEX account_links_folded ON account_links (lower(account), created_at);
CREATE INDEX browser_sessions_folded_principal ON browser_sessions (lower(principal), created_at);
CREATE INDEX browser_sessions_folded_account ON browser_sessions (lower(account));
