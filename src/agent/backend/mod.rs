//! What a runtime is made of: [`process`] starts it, [`action`] speaks to it.

pub mod action;
pub mod process;
