"""What can go wrong in the demo, as sentences for the person who runs it."""


class DemoError(Exception):
    """The demo cannot go on; the text says what, and what to do next."""


class KubectlFailed(DemoError):
    """The apiserver refused, or could not be reached."""


class StoryFailed(DemoError):
    """A story ended differently from how it has to end."""
