"""Learned motion matching: a matching database put into three small networks."""
