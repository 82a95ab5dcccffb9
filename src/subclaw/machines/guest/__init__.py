"""The host's end of a machine's agent: calls, their answers, and who the machine is told to be."""
