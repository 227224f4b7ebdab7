"""What actions do: dialogs around calls of the session, one function an action."""
