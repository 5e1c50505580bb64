%% Pages for browsers without JavaScript, and for links to a task. Pure.
-module(taskboard_html).

-export([tasks/1, task/1]).

-spec tasks([taskboard_task:task()]) -> iodata().
tasks(Tasks) ->
    page(<<"All tasks">>, ["<ul>", [["<li>", entry(Task), "</li>"] || Task <- Tasks], "</ul>"]).

-spec task(taskboard_task:task()) -> iodata().
task(#{title := Title, status := Status, assignee := Assignee}) ->
    Fields = [{"Status", atom_to_binary(Status)}, {"Assignee", Assignee}],
    page(Title, ["<dl>", [["<dt>", Name, "</dt><dd>", escape(Value), "</dd>"] || {Name, Value} <- Fields], "</dl>"]).

entry(#{id := Id, title := Title, status := Status}) ->
    ["<a href=\"/tasks/", integer_to_binary(Id), "\">", escape(Title), "</a> (", atom_to_binary(Status), ")"].

page(Title, Content) ->
    [
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>", escape(Title), "</title>",
        "<link rel=\"stylesheet\" href=\"/assets/board.css\"></head><body class=\"plain\"><main>",
        "<h1>", escape(Title), "</h1>", Content, "<p><a href=\"/\">The board</a></p></main></body></html>\n"
    ].

escape(Text) ->
    [escape_character(Byte) || <<Byte>> <= Text].

escape_character($<) -> "&lt;";
escape_character($>) -> "&gt;";
escape_character($&) -> "&amp;";
escape_character($") -> "&quot;";
escape_character(Byte) -> Byte.
