//! Packages that are in `wit/` and that this host does not offer yet.
