//! Local accounts, their recovery codes, and links that work once. What is secret comes here hashed or sealed.
//!
//! What must happen together (a link is used up, a password set, sessions ended) is one function and one transaction.

use std::time::SystemTime;

use crate::db::{self, Connection, Row, values};
use crate::list;
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// What is kept of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Its name, found in any case of its letters.
    pub name: String,
    /// Where its holder gets mail.
    pub email: Option<String>,
    /// The roles it brings.
    pub roles: Vec<String>,
    /// The password's hash; `None` until one was set.
    pub password: Option<String>,
    /// The sealed secret of one-time passwords.
    pub totp: Option<Vec<u8>>,
    /// A sealed secret that no code has confirmed yet.
    pub totp_draft: Option<Vec<u8>>,
    /// Recovery codes that are left.
    pub recovery_codes: u32,
    /// Wrong tries since the last good one.
    pub failures: u32,
    /// When the last of them was.
    pub failed_at: Option<SystemTime>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it last signed in.
    pub signed_in_at: Option<SystemTime>,
}

/// An account to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountDraft {
    /// Its name.
    pub name: String,
    /// Where its holder gets mail.
    pub email: Option<String>,
    /// The roles it brings.
    pub roles: Vec<String>,
    /// The password's hash, if it is known yet.
    pub password: Option<String>,
    /// When it is made.
    pub created_at: SystemTime,
}

/// A link that works once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// Hash of the secret in it.
    pub hash: [u8; 32],
    /// Whose password it sets; `None` to make the first account.
    pub account: Option<String>,
    /// When it was made.
    pub created_at: SystemTime,
    /// From when on it does not work.
    pub expires_at: SystemTime,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT name, email, roles, password, totp, totp_draft, failures, failed_at, created_at, signed_in_at,
            (SELECT count(*) FROM recovery_codes WHERE lower(account) = lower(name)) FROM accounts ",
            $rest
        )
    };
}

impl Store {
    /// Whether there is any account.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn has_accounts(&self) -> Result<bool, Error> {
        self.read(has_accounts)
    }

    /// The account of this name, or else the one with this address.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn find_account(&self, name_or_email: &str) -> Result<Option<AccountRow>, Error> {
        let by_name = select!("WHERE lower(name) = ?1");
        let by_email = select!("WHERE lower(email) = ?1");
        self.read(|connection| {
            let folded = folded(name_or_email);
            let find = |sql| connection.one(sql, values![folded], account);
            // Both, found or not: how long it takes says nothing.
            let (named, addressed) = (find(by_name)?, find(by_email)?);
            Ok(named.or(addressed))
        })
    }

    /// The account of this name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_account(&self, name: &str) -> Result<Option<AccountRow>, Error> {
        let sql = select!("WHERE lower(name) = ?1");
        self.read(|connection| connection.one(sql, values![folded(name)], account))
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_accounts(&self) -> Result<Vec<AccountRow>, Error> {
        let sql = select!("ORDER BY lower(name)");
        self.read(|connection| connection.all(sql, &[], account))
    }

    /// Makes an account. `false` if its name or address is taken.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_account(&self, draft: AccountDraft) -> Result<bool, Error> {
        self.change(move |connection| insert(connection, &draft))
            .await
    }

    /// Makes the first account and uses up the link for it. `false` if there is an account already, or the link does
    /// not hold.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_first_account(
        &self,
        draft: AccountDraft,
        link: [u8; 32],
        now: SystemTime,
    ) -> Result<bool, Error> {
        self.change(move |connection| {
            let sql =
                "DELETE FROM account_links WHERE hash = ?1 AND account IS NULL AND expires_at > ?2";
            if has_accounts(connection)?
                || connection.execute(sql, values![link, to_micros(now)])? == 0
            {
                return Ok(false);
            }
            connection.execute("DELETE FROM account_links WHERE account IS NULL", &[])?;
            insert(connection, &draft)
        })
        .await
    }

    /// Gives an account other roles and ends its browser sessions. `false` if there is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn set_account_roles(&self, name: &str, roles: &[String]) -> Result<bool, Error> {
        let (name, roles) = (folded(name), list::to_text(roles));
        self.change(move |connection| {
            let sql = "UPDATE accounts SET roles = ?2 WHERE lower(name) = ?1";
            let known = connection.execute(sql, values![name, roles])? > 0;
            end_sessions(connection, &name)?;
            Ok(known)
        })
        .await
    }

    /// Gives an account another e-mail address, or none; its links end, since the old address may have them. `false` if
    /// there is no such account, or the address is another's.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn set_account_email(&self, name: &str, email: Option<&str>) -> Result<bool, Error> {
        let (name, email) = (folded(name), email.map(str::to_owned));
        self.change(move |connection| {
            let sql = "UPDATE accounts SET email = ?2 WHERE lower(name) = ?1 AND NOT EXISTS
                (SELECT 1 FROM accounts AS other WHERE lower(other.email) = ?3 AND lower(other.name) <> ?1)";
            let address = email.as_deref().map(folded);
            let is_set = connection.execute(sql, values![name, email, address])? > 0;
            if is_set {
                connection.execute(
                    "DELETE FROM account_links WHERE lower(account) = ?1",
                    values![name],
                )?;
            }
            Ok(is_set)
        })
        .await
    }

    /// Deletes an account with all that hangs on it. `false` if there is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn delete_account(&self, name: &str) -> Result<bool, Error> {
        let name = folded(name);
        self.change(move |connection| {
            let sql = "DELETE FROM accounts WHERE lower(name) = ?1";
            Ok(connection.execute(sql, values![name])? > 0)
        })
        .await
    }

    /// Sets a password in the place of `from`; links and browser sessions of the account end. `false` if it is another one
    /// by now: whoever knew the old one has no say over the new one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn change_password(
        &self,
        name: &str,
        from: String,
        to: String,
    ) -> Result<bool, Error> {
        let name = folded(name);
        self.change(move |connection| {
            let sql = "SELECT 1 FROM accounts WHERE lower(name) = ?1 AND password = ?2";
            let holds = connection.exists(sql, values![name, from])?;
            Ok(holds && set_password(connection, &name, &to)?)
        })
        .await
    }

    /// Uses up a link and sets the password of its account, which is returned. `None` if the link does not hold.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn set_password_by_link(
        &self,
        link: [u8; 32],
        password: String,
        now: SystemTime,
    ) -> Result<Option<String>, Error> {
        self.change(move |connection| {
            let sql = "DELETE FROM account_links WHERE hash = ?1 AND account IS NOT NULL AND expires_at > ?2
                RETURNING account";
            let account: Option<String> = connection.one(
                sql,
                values![link, to_micros(now)],
                |row| row.get(0),
            )?;
            let Some(account) = account else {
                return Ok(None);
            };
            Ok(set_password(connection, &account, &password)?.then_some(account))
        })
        .await
    }

    /// Keeps another hash of the same password; nothing if it was changed meanwhile.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn rehash_password(&self, name: &str, from: String, to: String) -> Result<(), Error> {
        let name = folded(name);
        self.change(move |connection| {
            let sql = "UPDATE accounts SET password = ?3 WHERE lower(name) = ?1 AND password = ?2";
            connection.execute(sql, values![name, from, to])?;
            Ok(())
        })
        .await
    }

    /// Writes down how many wrong tries there were. Of a name that is nobody's it takes as long, and leaves nothing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn note_failures(&self, name: &str, count: u32, at: SystemTime) -> Result<(), Error> {
        let name = folded(name);
        self.change(move |connection| {
            let sql = "UPDATE accounts SET failures = ?2, failed_at = ?3 WHERE lower(name) = ?1";
            connection.execute(sql, values![name, count, to_micros(at)])?;
            Ok(())
        })
        .await
    }

    /// Writes down a sign-in; wrong tries before it are forgotten.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn note_sign_in(&self, name: &str, at: SystemTime) -> Result<(), Error> {
        let name = folded(name);
        self.change(move |connection| {
            let sql = "UPDATE accounts SET failures = 0, failed_at = NULL, signed_in_at = ?2 WHERE lower(name) = ?1";
            connection.execute(sql, values![name, to_micros(at)])?;
            Ok(())
        })
        .await
    }

    /// Keeps a secret for one-time passwords that is not in force yet. `false` if one is, or there is no such account.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn draft_totp(&self, name: &str, sealed: Vec<u8>) -> Result<bool, Error> {
        let name = folded(name);
        self.change(move |connection| {
            let sql = "UPDATE accounts SET totp_draft = ?2 WHERE lower(name) = ?1 AND totp IS NULL";
            Ok(connection.execute(sql, values![name, sealed])? > 0)
        })
        .await
    }

    /// Puts the drafted secret in force, if it is still `sealed`; with fresh recovery codes and the step of the code
    /// that confirmed it. `false` if it is not.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn confirm_totp(
        &self,
        name: &str,
        sealed: Vec<u8>,
        step: i64,
        codes: Vec<[u8; 32]>,
    ) -> Result<bool, Error> {
        let name = folded(name);
        self.change(move |connection| {
            let sql = "UPDATE accounts SET totp = totp_draft, totp_draft = NULL, totp_step = ?3
                WHERE lower(name) = ?1 AND totp IS NULL AND totp_draft = ?2";
            if connection.execute(sql, values![name, sealed, step])? == 0 {
                return Ok(false);
            }
            connection.execute(
                "DELETE FROM recovery_codes WHERE lower(account) = ?1",
                values![name],
            )?;
            let sql = "INSERT INTO recovery_codes (account, hash) VALUES (?1, ?2)";
            for code in &codes {
                connection.send(sql, values![name, code])?;
            }
            Ok(true)
        })
        .await
    }

    /// Takes a one-time password's step, if none as late was taken. `false` otherwise.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn take_totp_step(&self, name: &str, step: i64) -> Result<bool, Error> {
        let name = folded(name);
        self.change(move |connection| {
            let sql = "UPDATE accounts SET totp_step = ?2
                WHERE lower(name) = ?1 AND (totp_step IS NULL OR totp_step < ?2)";
            Ok(connection.execute(sql, values![name, step])? > 0)
        })
        .await
    }

    /// Takes a recovery code. `false` if it is none, or was taken.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn take_recovery_code(&self, name: &str, hash: [u8; 32]) -> Result<bool, Error> {
        let name = folded(name);
        self.change(move |connection| {
            let sql = "DELETE FROM recovery_codes WHERE lower(account) = ?1 AND hash = ?2";
            Ok(connection.execute(sql, values![name, hash])? > 0)
        })
        .await
    }

    /// Forgets secret, draft and recovery codes. `false` if there is no such account.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn clear_totp(&self, name: &str) -> Result<bool, Error> {
        let name = folded(name);
        self.change(move |connection| {
            connection.execute(
                "DELETE FROM recovery_codes WHERE lower(account) = ?1",
                values![name],
            )?;
            let sql = "UPDATE accounts SET totp = NULL, totp_draft = NULL, totp_step = NULL WHERE lower(name) = ?1";
            Ok(connection.execute(sql, values![name])? > 0)
        })
        .await
    }

    /// Keeps a link; one for the first account replaces those before. What is too old goes. `false` if it is for the
    /// first account and there is one.
    ///
    /// # Errors
    /// If it cannot be written, or its account is gone.
    pub async fn put_link(&self, link: LinkRow) -> Result<bool, Error> {
        self.change(move |connection| {
            if link.account.is_none() && has_accounts(connection)? {
                return Ok(false);
            }
            let created_at = to_micros(link.created_at);
            connection.execute(
                "DELETE FROM account_links
                WHERE expires_at <= ?1 OR (account IS NULL AND CAST(?2 AS TEXT) IS NULL)",
                values![created_at, link.account],
            )?;
            connection.execute(
                "INSERT INTO account_links (hash, account, created_at, expires_at)
                VALUES (?1, ?2, ?3, ?4)",
                values![
                    link.hash,
                    link.account,
                    created_at,
                    to_micros(link.expires_at)
                ],
            )?;
            Ok(true)
        })
        .await
    }

    /// A link that works now.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_link(&self, hash: [u8; 32], now: SystemTime) -> Result<Option<LinkRow>, Error> {
        self.read(|connection| {
            let sql = "SELECT hash, account, created_at, expires_at FROM account_links
                WHERE hash = ?1 AND expires_at > ?2";
            connection.one(sql, values![hash, to_micros(now)], |row| {
                Ok(LinkRow {
                    hash: row.get(0)?,
                    account: row.get(1)?,
                    created_at: from_micros(row.get(2)?),
                    expires_at: from_micros(row.get(3)?),
                })
            })
        })
    }

    /// When the account's last link was made.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn last_link_at(&self, account: &str) -> Result<Option<SystemTime>, Error> {
        self.read(|connection| {
            let sql = "SELECT max(created_at) FROM account_links WHERE lower(account) = ?1";
            let at: Option<i64> =
                connection.only(sql, values![folded(account)], |row| row.get(0))?;
            Ok(at.map(from_micros))
        })
    }
}

fn has_accounts(connection: &Connection) -> db::Result<bool> {
    connection.exists("SELECT 1 FROM accounts LIMIT 1", &[])
}

fn insert(connection: &Connection, draft: &AccountDraft) -> db::Result<bool> {
    let sql = "INSERT INTO accounts (name, email, roles, password, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT DO NOTHING";
    let inserted = connection.execute(
        sql,
        values![
            draft.name,
            draft.email,
            list::to_text(&draft.roles),
            draft.password,
            to_micros(draft.created_at)
        ],
    )?;
    Ok(inserted > 0)
}

fn set_password(connection: &Connection, name: &str, password: &str) -> db::Result<bool> {
    let sql =
        "UPDATE accounts SET password = ?2, failures = 0, failed_at = NULL WHERE lower(name) = ?1";
    let name = folded(name);
    let known = connection.execute(sql, values![name, password])? > 0;
    connection.execute(
        "DELETE FROM account_links WHERE lower(account) = ?1",
        values![name],
    )?;
    end_sessions(connection, &name)?;
    Ok(known)
}

fn end_sessions(connection: &Connection, account: &str) -> db::Result<()> {
    connection.execute(
        "DELETE FROM browser_sessions WHERE lower(account) = ?1",
        values![account],
    )?;
    Ok(())
}

/// As names and addresses are compared: in any case of their letters from A to Z.
pub(crate) fn folded(text: &str) -> String {
    text.to_ascii_lowercase()
}

fn account(row: &Row<'_>) -> db::Result<AccountRow> {
    let time = |column| {
        row.get::<Option<i64>>(column)
            .map(|micros| micros.map(from_micros))
    };
    Ok(AccountRow {
        name: row.get(0)?,
        email: row.get(1)?,
        roles: list::from_text(row, 2)?,
        password: row.get(3)?,
        totp: row.get(4)?,
        totp_draft: row.get(5)?,
        failures: row.get(6)?,
        failed_at: time(7)?,
        created_at: from_micros(row.get(8)?),
        signed_in_at: time(9)?,
        recovery_codes: row.get(10)?,
    })
}

#[cfg(test)]
mod tests;
