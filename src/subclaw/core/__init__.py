"""The pure core: values, decisions and ports. No asyncio, no I/O, no clock."""
