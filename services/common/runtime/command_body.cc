#include "runtime/command_body.h"

namespace trunkline::runtime {

std::string oneof_name(const google::protobuf::Message& message) {
  const auto* descriptor = message.GetDescriptor();
  if (descriptor->oneof_decl_count() == 0) return {};
  const auto* field =
      message.GetReflection()->GetOneofFieldDescriptor(message, descriptor->oneof_decl(0));
  return field == nullptr ? std::string() : field->name();
}

v1::CommandAnswer rejection_answer(const Rejection& rejection) {
  v1::CommandAnswer answer;
  auto* out = answer.mutable_rejected();
  out->set_rule(rejection.rule);
  out->set_message(rejection.message);
  switch (rejection.blame) {
    case RejectionBlame::bad_value: out->set_blame(v1::BLAME_BAD_VALUE); break;
    case RejectionBlame::forbidden: out->set_blame(v1::BLAME_FORBIDDEN); break;
    case RejectionBlame::not_found: out->set_blame(v1::BLAME_NOT_FOUND); break;
    case RejectionBlame::conflict: out->set_blame(v1::BLAME_CONFLICT); break;
  }
  return answer;
}

}  // namespace trunkline::runtime
