"""Where the world comes in: webhooks, event intake, problem documents."""
