"""What guards a call: deadline now; one file per guard."""
