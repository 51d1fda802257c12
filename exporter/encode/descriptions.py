"""Describes what the columns of the tables hold, in a few words each."""

from collections.abc import Mapping
from typing import Final

_JSON: Final = "the JSON text as served"

#: The descriptions, by table and column.
DESCRIPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "conversations": {
        "id": "the conversation's id; no other row has it",
        "organization_id": "the organization that it belongs to",
        "user_id": "the user that the agent talked to",
        "agent_id": "the agent's id",
        "agent_version_id": "the id of the version of the agent",
        "direction": "inbound or outbound; new values may appear",
        "channel": "telephone, webrtc, email or text; new values may appear",
        "status": "its progress, or how it ended; new values may appear",
        "agent_number": "the agent's number",
        "web_widget_id": "the web widget that it came through",
        "trunk_id": "the trunk that it came through",
        "duration": "seconds",
        "user_turn_count": "how often the user spoke",
        "created_at": "when it began; partitions are made of it",
        "updated_at": "when it last changed before it was read",
        "agent": "the agent's id and name; sensitive",
        "summary": "a summary that the API makes; sensitive",
        "initial_context": f"the context that it began with; {_JSON}; sensitive",
        "custom_metadata": f"whatever the caller attached; {_JSON}; sensitive",
        "conversation": f"the transcript; {_JSON}; sensitive",
        "recording_details": f"the recording, with a URL that expires; {_JSON}; sensitive",
        "extra": "what the API serves beyond these columns, as a JSON object",
    },
    "turns": {
        "conversation_id": "the id of the conversation",
        "conversation_created_at": "when the conversation began; partitions are made of it",
        "item_index": "where the item stands in the transcript, from 0",
        "item_id": "the item's id",
        "type": "message, function_call, function_call_output; new values may appear",
        "role": "user, assistant, system or developer; new values may appear",
        "text": "what is text in the content, joined by line breaks",
        "content": f"all of the content, where some of it is not text; {_JSON}",
        "interrupted": "whether the message was interrupted",
        "transcript_confidence": "the confidence of the transcription",
        "item_created_at": "when the item began, to the microsecond",
        "started_speaking_at": "seconds since 1970",
        "stopped_speaking_at": "seconds since 1970",
        "transcription_delay": "seconds",
        "end_of_turn_delay": "seconds",
        "on_user_turn_completed_delay": "seconds",
        "llm_node_ttft": "seconds until the model's first token",
        "tts_node_ttfb": "seconds until the first byte of speech",
        "e2e_latency": "seconds from the end of the user's turn to the reply",
        "other_metrics": "a JSON object of the metrics without a column",
        "call_id": "the same for a call and its output",
        "tool_name": "the name of the tool",
        "arguments": "the arguments of the call, usually JSON",
        "output": "what the tool answered",
        "is_error": "whether the tool failed",
        "extra": "a JSON object of what has no column, or does not fit its own",
    },
    "recordings": {
        "conversation_id": "the id of the conversation; no other row has it",
        "conversation_created_at": "when the conversation began; partitions are made of it",
        "status": "stored, gone, expired, failed or refused",
        "reason": "why it is not stored, in a few words",
        "path": "where the audio lies, relative to the destination; null unless it is stored",
        "bytes": "the size of the audio",
        "sha256": "the SHA-256 of the audio, which is also its name",
        "content_type": "the type of the audio, as its host said",
        "duration": "seconds, as the API said; not measured",
        "url_hash": "a hash of the URL's path; another one means another recording",
        "source_etag": "the tag that its host gave it",
        "fetched_at": "when it was last asked for",
        "attempts": "how often its host was asked for it then",
    },
}
#: Describes the column that directories are named by; it is in no file.
PARTITION: Final = "from the names of the directories: the {zone} {unit} of created_at"
