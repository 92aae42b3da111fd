"""Seeds: graphs as dictionaries from a node to its neighbours, and trees."""

import heapq
from collections import deque
from typing import Any


def breadth_first(graph: dict[str, list[str]], start: str) -> list[str]:
    """List all nodes that can be reached from a start, nearest first.

    >>> breadth_first({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, "a")
    ['a', 'b', 'c', 'd']
    """
    seen, waiting = [start], deque([start])
    while waiting:
        for neighbor in graph[waiting.popleft()]:
            if neighbor not in seen:
                seen.append(neighbor)
                waiting.append(neighbor)
    return seen


def shortest_path(graph: dict[str, list[str]], start: str, goal: str) -> list[str] | None:
    """Return a path with the fewest edges from one node to another, None where there is none.

    >>> shortest_path({"a": ["b", "c"], "b": ["d"], "c": [], "d": []}, "a", "d")
    ['a', 'b', 'd']
    """
    paths = deque([[start]])
    seen = {start}
    while paths:
        path = paths.popleft()
        if path[-1] == goal:
            return path
        for neighbor in graph.get(path[-1], []):
            if neighbor not in seen:
                seen.add(neighbor)
                paths.append([*path, neighbor])
    return None


def dijkstra(graph: dict[str, dict[str, float]], start: str) -> dict[str, float]:
    """Compute the length of the shortest way from a start to every node within reach.

    Args:
        graph: For each node its neighbours and the lengths of the edges, none negative.
        start: The node from which to measure.

    Returns:
        A dictionary from node to distance.

    >>> dijkstra({"a": {"b": 1, "c": 5}, "b": {"c": 2}, "c": {}}, "a")
    {'a': 0, 'b': 1, 'c': 3}
    """
    distances: dict[str, float] = {}
    waiting: list[tuple[float, str]] = [(0, start)]
    while waiting:
        distance, node = heapq.heappop(waiting)
        if node in distances:
            continue
        distances[node] = distance
        for neighbor, length in graph[node].items():
            if neighbor not in distances:
                heapq.heappush(waiting, (distance + length, neighbor))
    return distances


def topological_order(needs: dict[str, list[str]]) -> list[str]:
    """Put tasks in an order in which each comes after all that it needs.

    Raises:
        ValueError: If some tasks need each other in a circle.

    >>> topological_order({"eat": ["cook"], "cook": ["shop"], "shop": []})
    ['shop', 'cook', 'eat']
    """
    order: list[str] = []
    open_tasks = dict(needs)
    while open_tasks:
        ready = [task for task, before in open_tasks.items() if all(name in order for name in before)]
        if not ready:
            raise ValueError("these tasks need each other: " + ", ".join(open_tasks))
        for task in ready:
            order.append(task)
            del open_tasks[task]
    return order


def connected_components(graph: dict[str, list[str]]) -> list[set[str]]:
    """Split the nodes of an undirected graph into groups that hang together.

    >>> [sorted(group) for group in connected_components({"a": ["b"], "b": ["a"], "c": []})]
    [['a', 'b'], ['c']]
    """
    groups: list[set[str]] = []
    left = set(graph)
    for node in graph:
        if node in left:
            group, waiting = set(), [node]
            while waiting:
                current = waiting.pop()
                if current not in group:
                    group.add(current)
                    waiting.extend(graph[current])
            left -= group
            groups.append(group)
    return groups


def has_cycle(graph: dict[str, list[str]]) -> bool:
    """Tell whether a directed graph contains a circle.

    >>> has_cycle({"a": ["b"], "b": ["c"], "c": ["a"]})
    True
    >>> has_cycle({"a": ["b", "c"], "b": ["c"], "c": []})
    False
    """
    finished: set[str] = set()

    def visit(node: str, path: frozenset[str]) -> bool:
        if node in path:
            return True
        if node in finished:
            return False
        found = any(visit(neighbor, path | {node}) for neighbor in graph.get(node, []))
        finished.add(node)
        return found

    return any(visit(node, frozenset()) for node in graph)


def spanning_tree(edges: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Choose edges that connect all nodes at the lowest total cost (Kruskal's algorithm).

    >>> spanning_tree([(1, "a", "b"), (4, "a", "c"), (2, "b", "c")])
    [(1, 'a', 'b'), (2, 'b', 'c')]
    """
    group = {node: node for _, a, b in edges for node in (a, b)}
    chosen = []
    for cost, a, b in sorted(edges):
        if group[a] != group[b]:
            chosen.append((cost, a, b))
            old, new = group[b], group[a]
            group = {node: new if name == old else name for node, name in group.items()}
    return chosen


def degrees(edges: list[tuple[str, str]]) -> dict[str, int]:
    """Count at how many edges of an undirected graph each node lies.

    >>> degrees([("a", "b"), ("b", "c")])
    {'a': 1, 'b': 2, 'c': 1}
    """
    counts: dict[str, int] = {}
    for edge in edges:
        for node in edge:
            counts[node] = counts.get(node, 0) + 1
    return counts


def is_bipartite(graph: dict[str, list[str]]) -> bool:
    """Tell whether the nodes can be painted in two colors so that no edge joins equal colors."""
    colors: dict[str, int] = {}
    for start in graph:
        if start in colors:
            continue
        colors[start] = 0
        waiting = [start]
        while waiting:
            node = waiting.pop()
            for neighbor in graph[node]:
                if neighbor not in colors:
                    colors[neighbor] = 1 - colors[node]
                    waiting.append(neighbor)
                elif colors[neighbor] == colors[node]:
                    return False
    return True


def tree_depth(tree: dict[str, Any]) -> int:
    """Return the number of levels of a tree of nested dictionaries.

    >>> tree_depth({"root": {"left": {}, "right": {"leaf": {}}}})
    3
    """
    return 1 + max(map(tree_depth, tree.values())) if tree else 0


def ancestors(parents: dict[str, str], node: str) -> list[str]:
    """List the ancestors of a node, nearest first, given each node's parent.

    >>> ancestors({"cat": "mammal", "mammal": "animal"}, "cat")
    ['mammal', 'animal']
    """
    found = []
    while node in parents:
        node = parents[node]
        found.append(node)
    return found


def reverse_edges(graph: dict[str, list[str]]) -> dict[str, list[str]]:
    """Turn all edges of a directed graph around.

    >>> reverse_edges({"a": ["b", "c"], "b": ["c"], "c": []})
    {'a': [], 'b': ['a'], 'c': ['a', 'b']}
    """
    reversed_graph: dict[str, list[str]] = {node: [] for node in graph}
    for node, neighbors in graph.items():
        for neighbor in neighbors:
            reversed_graph[neighbor].append(node)
    return reversed_graph
