"""Triple's unary form over HTTP/1.1 and HTTP/2: what curl, browsers and dubbo-go's HTTP clients speak.

::

    options.py    the limits of a port
    form.py       HTTP requests and responses as calls: headers, forms, statuses; pure
    context.py    what handlers are given as their context
    calls.py      runs a call through interceptors and handler; knows no sockets
    bodies.py     what is held of requests that are not whole yet
    http1.py      one connection of HTTP/1.1 (h11)
    http2.py      one connection of HTTP/2 (h2)
    port.py       listens, tells the two apart, limits, stops
"""

from .options import HttpOptions

__all__ = ["HttpOptions"]
