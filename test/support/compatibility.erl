%% The list of intended differences, docs/cowboy-compatibility.md, as the suites see it.
-module(compatibility).

-export([must_name/1, must_name/2, differences/0, tests/0, suites/0, page/1]).

%% The names of all intended differences: the first column of the page's last table.
-spec differences() -> [binary()].
differences() ->
    [_, Table] = binary:split(text(), <<"## Intended differences">>),
    names(<<"^\\| `([a-z0-9_]+)` \\|">>, Table).

%% The suites and cases that the page names in full.
-spec tests() -> [{Suite :: binary(), Case :: binary()}].
tests() ->
    [list_to_tuple(binary:split(Name, <<":">>)) || Name <- names(<<"`([a-z0-9_]+_SUITE:[a-z0-9_]+)`">>, text())].

%% The text of all suites that lie in the same repository as the page.
-spec suites() -> binary().
suites() ->
    Root = filename:dirname(filename:dirname(page())),
    Texts = [file:read_file(File) || File <- filelib:wildcard(filename:join([Root, "test", "{both,own,faults}", "*_SUITE.erl"]))],
    iolist_to_binary([Text || {ok, Text} <- Texts]).

names(Pattern, Text) ->
    case re:run(Text, Pattern, [global, multiline, {capture, all_but_first, binary}]) of
        {match, Names} -> lists:append(Names);
        nomatch -> []
    end.

%% Fails unless the page has a row for this difference: the name in back quotes.
-spec must_name(atom()) -> ok.
must_name(Difference) ->
    case binary:match(text(), <<"`", (atom_to_binary(Difference))/binary, "`">>) of
        {_, _} -> ok;
        nomatch -> error({no_row_in, "docs/cowboy-compatibility.md", Difference})
    end.

%% Fails unless the page has a row for this difference among those from Cowboys that are older than the version.
-spec must_name(atom(), same_test:version()) -> ok.
must_name(Difference, {Major, Minor}) ->
    Row = io_lib:format("^\\| `~s` \\| ~b\\.~b \\|", [Difference, Major, Minor]),
    case re:run(text(), Row, [multiline, {capture, none}]) of
        match -> ok;
        nomatch -> error({no_row_in, "docs/cowboy-compatibility.md", Difference, {before, {Major, Minor}}})
    end.

text() ->
    {ok, Text} = file:read_file(page()),
    Text.

%% Where another page of the documentation is.
-spec page(file:filename()) -> file:filename().
page(Name) ->
    filename:join(filename:dirname(page()), Name).

%% The page lies above the folder of this module's source, or of the run.
page() ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    above(filename:dirname(Source), fun() -> above(os:getenv("PWD"), fun() -> error(no_compatibility_page) end) end).

above("/", Else) ->
    Else();
above(Folder, Else) ->
    Page = filename:join([Folder, "docs", "cowboy-compatibility.md"]),
    case filelib:is_regular(Page) of
        true -> Page;
        false -> above(filename:dirname(Folder), Else)
    end.
