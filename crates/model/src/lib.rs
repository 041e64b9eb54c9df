//! Nothing: all of the model is in `tests/model`. It is a package of its own so that it alone is optimized in test builds.
//!
//! Never: production code.
