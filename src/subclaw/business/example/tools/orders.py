"""What the agent can do. Each function is a tool; its parameters and its docstring are all that the model is told."""

_ORDERS = {"1001": "shipped on Monday", "1002": "being packed"}


def order_status(order: str) -> str:
    """Say where an order is.

    order: the number of the order, as the customer was told it
    """
    return _ORDERS.get(order, "There is no such order.")
