#include "agent/domain/report_text.h"

#include <string>
#include <vector>

#include "base/utf8.h"
#include "trunkline/v1/stats.pb.h"

namespace trunkline::agent {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

void bound_text(Message* message, const FieldDescriptor* field) {
  const Reflection& reflection = *message->GetReflection();
  const size_t most = most_bytes(*field);
  std::string scratch;
  if (!field->is_repeated()) {
    const std::string& text = reflection.GetStringReference(*message, field, &scratch);
    std::string bounded = bounded_text(text, most);
    if (bounded != text) reflection.SetString(message, field, std::move(bounded));
    return;
  }
  for (int i = 0; i < reflection.FieldSize(*message, field); ++i) {
    const std::string& text = reflection.GetRepeatedStringReference(*message, field, i, &scratch);
    std::string bounded = bounded_text(text, most);
    if (bounded != text) reflection.SetRepeatedString(message, field, i, std::move(bounded));
  }
}

void leave_out_words(v1::TaskReport* task) {
  if (task->has_failure()) task->mutable_failure()->clear_message();
}

}  // namespace

size_t most_bytes(const FieldDescriptor& text) {
  static const auto* const failure =
      v1::Failure::descriptor()->FindFieldByNumber(v1::Failure::kMessageFieldNumber);
  static const auto* const statement =
      v1::StatementStats::descriptor()->FindFieldByNumber(v1::StatementStats::kQueryFieldNumber);
  if (&text == failure) return kFailureTextBytes;
  return &text == statement ? kStatementTextBytes : kTextBytes;
}

void bound_texts(Message* message) {
  const Reflection& reflection = *message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      bound_text(message, field);
    } else if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      continue;
    } else if (!field->is_repeated()) {
      bound_texts(reflection.MutableMessage(message, field));
    } else {
      for (int i = 0; i < reflection.FieldSize(*message, field); ++i) {
        bound_texts(reflection.MutableRepeatedMessage(message, field, i));
      }
    }
  }
}

void leave_out_words(v1::HostReport* report) {
  for (auto& node : *report->mutable_nodes()) {
    node.clear_object_notes();
    for (auto& object : *node.mutable_object_failures()) {
      object.mutable_failure()->clear_message();
    }
    if (node.has_ensure()) leave_out_words(node.mutable_ensure());
    if (node.has_role()) leave_out_words(node.mutable_role());
    if (node.has_objects()) leave_out_words(node.mutable_objects());
    if (node.has_remove()) leave_out_words(node.mutable_remove());
  }
}

}  // namespace trunkline::agent
