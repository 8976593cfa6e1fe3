// Between what reports say in the wire's words and the domain's enums. Unknown words of the wire
// become the weakest of ours.
#pragma once

#include "replication/domain/group_facts.h"
#include "trunkline/v1/report.pb.h"
#include "trunkline/v1/task.pb.h"

namespace trunkline::replication {

inline PostgresState to_state(v1::PostgresState state) {
  switch (static_cast<int>(state)) {
    case v1::POSTGRES_STATE_STOPPED:
      return PostgresState::stopped;
    case v1::POSTGRES_STATE_STARTING:
      return PostgresState::starting;
    case v1::POSTGRES_STATE_RECOVERING:
      return PostgresState::recovering;
    case v1::POSTGRES_STATE_OPEN:
      return PostgresState::open;
  }
  return PostgresState::unknown;
}
inline v1::PostgresState to_proto(PostgresState state) {
  switch (state) {
    case PostgresState::unknown:
      return v1::POSTGRES_STATE_UNSPECIFIED;
    case PostgresState::stopped:
      return v1::POSTGRES_STATE_STOPPED;
    case PostgresState::starting:
      return v1::POSTGRES_STATE_STARTING;
    case PostgresState::recovering:
      return v1::POSTGRES_STATE_RECOVERING;
    case PostgresState::open:
      return v1::POSTGRES_STATE_OPEN;
  }
  return v1::POSTGRES_STATE_UNSPECIFIED;
}

inline ReportedRole to_role(v1::Role role) {
  switch (static_cast<int>(role)) {
    case v1::ROLE_PRIMARY:
      return ReportedRole::primary;
    case v1::ROLE_STANDBY:
      return ReportedRole::standby;
    case v1::ROLE_FENCED:
      return ReportedRole::fenced;
  }
  return ReportedRole::none;
}
inline v1::Role to_proto(ReportedRole role) {
  switch (role) {
    case ReportedRole::none:
      return v1::ROLE_UNSPECIFIED;
    case ReportedRole::primary:
      return v1::ROLE_PRIMARY;
    case ReportedRole::standby:
      return v1::ROLE_STANDBY;
    case ReportedRole::fenced:
      return v1::ROLE_FENCED;
  }
  return v1::ROLE_UNSPECIFIED;
}

inline TaskState to_task_state(v1::TaskState state) {
  switch (static_cast<int>(state)) {
    case v1::TASK_STATE_IN_PROGRESS:
      return TaskState::in_progress;
    case v1::TASK_STATE_SUCCEEDED:
      return TaskState::succeeded;
    case v1::TASK_STATE_FAILED:
      return TaskState::failed;
  }
  return TaskState::not_started;
}
inline v1::TaskState to_proto(TaskState state) {
  switch (state) {
    case TaskState::not_started:
      return v1::TASK_STATE_NOT_STARTED;
    case TaskState::in_progress:
      return v1::TASK_STATE_IN_PROGRESS;
    case TaskState::succeeded:
      return v1::TASK_STATE_SUCCEEDED;
    case TaskState::failed:
      return v1::TASK_STATE_FAILED;
  }
  return v1::TASK_STATE_NOT_STARTED;
}

}  // namespace trunkline::replication
