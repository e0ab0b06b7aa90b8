"""One file per row of Table III; bench.methods finds them."""
