"""How much faster the parts are that were made fast, measured on the machine at hand."""
