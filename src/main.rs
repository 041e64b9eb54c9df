//! oat-operator.

fn main() {}
