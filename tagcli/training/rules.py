"""What is asked of the numbers of a recipe."""


def require(is_true: bool, rule: str) -> None:
    """Refuse what is against a rule.

    Raises
    ------
    ValueError
        With the rule, when it does not hold.
    """
    if not is_true:
        raise ValueError(rule)
