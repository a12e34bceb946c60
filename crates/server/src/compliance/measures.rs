//! All measures, by what they look after. A new one is a `static` in one of these files; the compiler complains as long as
//! no control of any framework names it.

pub(super) mod access;
pub(super) mod calls;
pub(super) mod content;
pub(super) mod data;
pub(super) mod network;
pub(super) mod operation;
pub(super) mod trail;
