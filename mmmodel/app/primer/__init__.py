"""What the notebooks of the primer draw and tabulate; each module is named in the README with its notebook. Nothing else imports it."""
