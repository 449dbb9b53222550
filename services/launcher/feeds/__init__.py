"""Upstreams for a cluster without one: a simulator, and recorded trades; they write to Redis as any upstream would."""
