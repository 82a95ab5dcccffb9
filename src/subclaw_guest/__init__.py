"""What runs inside a machine, and the wire format that both ends share. Standard library only."""
