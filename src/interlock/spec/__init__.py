"""What users declare, checked and frozen. Nothing here runs an integration."""
