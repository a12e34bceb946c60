//! A provider as the rest of the room meets it.
