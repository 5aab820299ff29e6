"""What holds for every test."""

from hypothesis import settings

# How long an example takes says more about the machine than about the code; what
# reproduces a failure is printed with it.
settings.register_profile("onward", deadline=None, print_blob=True)
settings.load_profile("onward")
