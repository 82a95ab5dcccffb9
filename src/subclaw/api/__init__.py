"""The HTTP face of the control plane: the channels' doors, health, and errors in words."""
