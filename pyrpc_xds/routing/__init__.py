"""From a RouteConfiguration to the decision of each call: compiled routes, their explanation, the router."""
