//! One-time passwords by time (RFC 6238 over RFC 4226: SHA-1, six digits, thirty seconds), and recovery codes.
//!
//! What they are asked for is the parent's; here is arithmetic. That a step is not taken twice is the store's.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use qrcode::QrCode;
use qrcode::render::svg;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::random;
use crate::key::NoRandomness;

/// Bytes of a secret (RFC 4226 section 4, R6).
pub(super) const SECRET_LEN: usize = 20;
/// How many recovery codes there are.
pub(super) const RECOVERY_CODES: usize = 10;
const DIGITS: usize = 6;
const STEP_SECONDS: u64 = 30;
/// How many steps a clock may be off, either way.
const STEPS_OFF: i64 = 1;
const ISSUER: &str = "Portcullis";
/// Smallest side of a QR code, in pixels.
const QR_SIDE_MIN: u32 = 220;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// 32 characters that no eye mixes up.
const RECOVERY_ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Characters of a recovery code, without the dash in the middle: 50 bits.
const RECOVERY_CHARS: usize = 10;

/// The step whose code this is, if it is one of now, or of a step before or after.
pub(super) fn step_of(code: &str, secret: &[u8], now: SystemTime) -> Option<i64> {
    let code: Zeroizing<String> =
        Zeroizing::new(code.chars().filter(|c| !c.is_whitespace()).collect());
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(seconds / STEP_SECONDS).ok()?;
    let mut found = None;
    for step in now - STEPS_OFF..=now + STEPS_OFF {
        // All of them, found or not; and the latest, so that it is not good for a second time.
        if code.as_bytes().ct_eq(at(step, secret).as_bytes()).into() {
            found = Some(step);
        }
    }
    found
}

/// The code of a step.
pub(super) fn at(step: i64, secret: &[u8]) -> Zeroizing<String> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    // RFC 4226 section 5.3: SHA-1 has 20 bytes, and the offset is 15 at most.
    let offset = tag.last().map_or(0, |last| usize::from(last & 0x0f));
    let number = tag
        .get(offset..offset + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_be_bytes);
    let digits = (number & 0x7fff_ffff) % 10_u32.pow(6);
    Zeroizing::new(format!("{digits:0DIGITS$}"))
}

/// Whether a text could be a code of a step; otherwise it is taken for a recovery code.
pub(super) fn is_code_like(text: &str) -> bool {
    let digits = text.chars().filter(|c| !c.is_whitespace());
    digits.clone().count() == DIGITS && digits.into_iter().all(|c| c.is_ascii_digit())
}

/// The secret as people type it.
pub(super) fn base32(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(5) * 8));
    for chunk in bytes.chunks(5) {
        let mut block = [0_u8; 8];
        block[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(block);
        for nth in 0..(chunk.len() * 8).div_ceil(5) {
            let five = (bits >> (35 - 5 * nth)) & 31;
            text.push(char::from(BASE32[usize::try_from(five).unwrap_or(0)]));
        }
    }
    text
}

/// What authenticator programs read (the "Key URI Format" that they share).
pub(super) fn uri(account: &str, secret: &[u8]) -> Zeroizing<String> {
    let mut label = String::new();
    for byte in account.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            label.push(char::from(byte));
        } else {
            write!(label, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    let secret = base32(secret);
    Zeroizing::new(format!(
        "otpauth://totp/{ISSUER}:{label}?secret={}&issuer={ISSUER}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}",
        &*secret
    ))
}

/// A QR code as an `<svg>` element, without styles, for pages that allow none. `None` if the text is too long for one.
pub(super) fn qr(text: &str) -> Option<Zeroizing<String>> {
    let code = QrCode::new(text).ok()?;
    let image = Zeroizing::new(
        code.render::<svg::Color<'_>>()
            .min_dimensions(QR_SIDE_MIN, QR_SIDE_MIN)
            .build(),
    );
    // Inside a page there is no place for an XML declaration.
    let start = image.find("<svg")?;
    Some(Zeroizing::new(image.get(start..)?.to_owned()))
}

/// A fresh set of recovery codes, as they are shown: `abcde-23456`.
pub(super) fn recovery_codes() -> Result<Vec<Zeroizing<String>>, NoRandomness> {
    let one = |_nth| {
        let bytes: Zeroizing<[u8; RECOVERY_CHARS]> = random()?;
        let mut text = Zeroizing::new(String::with_capacity(RECOVERY_CHARS + 1));
        for (nth, byte) in bytes.iter().enumerate() {
            if nth == RECOVERY_CHARS / 2 {
                text.push('-');
            }
            text.push(char::from(RECOVERY_ALPHABET[usize::from(byte % 32)]));
        }
        Ok(text)
    };
    (0..RECOVERY_CODES).map(one).collect()
}

/// A recovery code without what people add or change when they copy it.
pub(super) fn plain_recovery_code(text: &str) -> Zeroizing<String> {
    let kept = text.chars().filter(char::is_ascii_alphanumeric);
    Zeroizing::new(
        kept.take(RECOVERY_CHARS + 1)
            .map(|c| c.to_ascii_lowercase())
            .collect(),
    )
}

#[cfg(test)]
mod tests;
