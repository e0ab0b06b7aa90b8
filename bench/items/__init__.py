"""What one item does: read its inputs, call the pure functions, fill its folder. The engine calls these by name."""
