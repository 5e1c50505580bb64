%% The list of intended differences, docs/cowboy-compatibility.md, as the suites see it.
-module(compatibility).

-export([must_name/1]).

%% Fails unless the page has a row for this difference: the name in back quotes.
-spec must_name(atom()) -> ok.
must_name(Difference) ->
    {ok, Page} = file:read_file(page()),
    case binary:match(Page, <<"`", (atom_to_binary(Difference))/binary, "`">>) of
        {_, _} -> ok;
        nomatch -> error({no_row_in, "docs/cowboy-compatibility.md", Difference})
    end.

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
