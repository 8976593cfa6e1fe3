#include "api-gateway/domain/command_fields.h"

#include <google/protobuf/descriptor.h>

#include <stdexcept>

namespace trunkline::gateway {
namespace {

namespace pb = google::protobuf;

const pb::FieldDescriptor* member(const pb::Message& message, std::string_view name) {
  const auto* field = message.GetDescriptor()->FindFieldByName(std::string(name));
  if (field == nullptr) {
    throw std::logic_error(message.GetTypeName() + " has no field " + std::string(name));
  }
  return field;
}

pb::Message* submessage(pb::Message* message, std::string_view name) {
  return message->GetReflection()->MutableMessage(message, member(*message, name));
}

std::string_view command_member(Resource resource) {
  switch (resource) {
    case Resource::instance:
    case Resource::user:
    case Resource::database: return "instance";
    case Resource::version: return "version";
    case Resource::host: return "host";
    case Resource::token: return "token";
    case Resource::quota: return "quota";
    case Resource::operation:
    case Resource::usage:
    case Resource::invoice:
    case Resource::price_list:
    case Resource::webhook: break;
  }
  throw std::logic_error("no command is made from this resource's fields");
}

std::string_view message_of(Resource resource, Verb verb) {
  switch (verb) {
    case Verb::create: return info(resource).create_message;
    case Verb::update: return info(resource).update_message;
    case Verb::remove: return info(resource).delete_message;
  }
  return {};
}

void set_integer(pb::Message* message, const pb::FieldDescriptor* field, int64_t value) {
  const auto* reflection = message->GetReflection();
  if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_UINT32) {
    reflection->SetUInt32(message, field, static_cast<uint32_t>(value));
  } else {
    reflection->SetInt64(message, field, value);
  }
}

void set_field(pb::Message* message, std::string_view path, const FieldValue& value) {
  for (size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    message = submessage(message, path.substr(0, dot));
    path.remove_prefix(dot + 1);
  }
  const auto* field = member(*message, path);
  const auto* reflection = message->GetReflection();
  if (const auto* text = std::get_if<std::string>(&value)) {
    reflection->SetString(message, field, *text);
  } else if (const auto* reference = std::get_if<Reference>(&value)) {
    reflection->SetString(message, field, reference->uuid);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    reflection->SetBool(message, field, *flag);
  } else {
    set_integer(message, field, std::get<int64_t>(value));
  }
}

}  // namespace

void fill_command(Resource resource, Verb verb, const std::string& id, const FieldValues& values,
                  v1::Command* command) {
  pb::Message* message =
      submessage(submessage(command, command_member(resource)), message_of(resource, verb));
  const std::string_view id_path = info(resource).id_path;
  if (!id_path.empty()) set_field(message, id_path, FieldValue(id));
  if (verb == Verb::remove) return;
  for (const auto& [name, value] : values) {
    const Field* field = find_field(resource, name);
    const std::string_view path = verb == Verb::create ? field->create_path : field->update_path;
    if (!path.empty()) set_field(message, path, value);
  }
}

}  // namespace trunkline::gateway
