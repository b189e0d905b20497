"""The frozen value types that stages take and return."""
