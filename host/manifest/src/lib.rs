//! What a plugin asks for: the manifest, its canonical form, and shapes that a call with a secret must match. Pure; must not know who grants.

#![forbid(unsafe_code)]
