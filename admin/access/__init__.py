"""Access to the Analytics section: authentication, sessions, logins, and the middleware that enforces them.

    request -> security_headers -> middleware -> routes
    middleware, login -> authentication -> tokens (credentials), sessions (cookies), rate_limit, login_codes, origins

Every decision is made without I/O. See docs/definitions.md#access.
"""
