"""Leaf & Kettle, a small shop for tea: its orders, the API that its support agent calls, and its pages."""
