"""Telling people: one tick that decides what is due, messages, and the receivers that take them."""
