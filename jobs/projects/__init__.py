"""Projects on their way: packed, checked, stored."""
