"""A Django project that owes webhooks through the two packages that Django's users would pick instead."""
