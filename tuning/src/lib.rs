//! Host doctor and capacity planner.
